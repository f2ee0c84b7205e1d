"""A test runner that writes down what became of each test."""

import json
import os
import unittest
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner

__all__ = ["Runner"]


class Result(unittest.TextTestResult):
    """Writes down the outcomes of tests; of one that fails, the last line of its error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, outcome: str) -> None:
        if self.outcomes.get(test.id(), "passed") == "passed":
            self.outcomes[test.id()] = outcome

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._note(test, "passed")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._note(test, "passed")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._note(test, _line(err))

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, _line(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, _line(err))


def _line(err: Any) -> str:
    kind, error, _ = err
    return f"{kind.__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


class Runner(DiscoverRunner):
    """Writes the outcomes into the file that ``OUTCOMES`` names."""

    def get_resultclass(self) -> type[Result]:
        return Result

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result: Any = super().run_suite(suite, **kwargs)
        Path(os.environ["OUTCOMES"]).write_text(json.dumps(result.outcomes, indent=1))
        return result
