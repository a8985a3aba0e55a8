"""The text of a small episode, for tests that need a course but no images and no training."""

SMALL_EPISODE = """\
# A small episode

Two exercises, one for the machine and one for a person.

## Add up

Add the numbers.

```python nbgrader={"grade_id": "add-up", "solution": true}
numbers = [1, 2, 3]
### BEGIN SOLUTION
#? total = ...        # the sum of the numbers
total = sum(numbers)
### END SOLUTION
```

```python nbgrader={"grade_id": "add-up-test", "grade": true, "locked": true, "points": 2}
assert total is not ..., "not attempted yet: give total a value"
assert total == 6, f"total should be 6; yours is {total!r}"
### BEGIN HIDDEN TESTS
assert isinstance(total, int), "the total must be a whole number and nothing else"
### END HIDDEN TESTS
```

## Say why

Why does the order not matter?

<!-- #region nbgrader={"grade_id": "say-why", "grade": true, "solution": true, "points": 3} -->
=== BEGIN MARK SCHEME ===
Addition is commutative, which is the model answer that no student may see.
=== END MARK SCHEME ===
<!-- #endregion -->
"""
