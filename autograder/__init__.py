"""What an instructor runs: the command line, the sandbox, the judge, the pipeline and the reports."""
