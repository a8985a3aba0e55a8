# docker build -t cnn-course-grader .
# docker run --rm -p 127.0.0.1:8888:8888 cnn-course-grader
# The sandbox makes namespaces, which Docker forbids unless it is told otherwise: see docs/how-to/run-elsewhere.md.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home grader && install -d -o grader /course
WORKDIR /course
USER grader
RUN python -m venv .venv
COPY --chown=grader . .
RUN .venv/bin/pip install --no-cache-dir -c constraints.txt -e '.[grading,cluster,docs,test]'
ENV PATH=/course/.venv/bin:$PATH
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
