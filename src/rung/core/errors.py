"""The error tree. Every message says what was got, what was expected and ends in what to type.

RungError
├── InputError            a file, option or value given by the user is wrong (exit code 2)
├── MissingExtra          an optional dependency is not installed (exit code 2)
├── Unsupported           a model or rung cannot do what was asked of it
├── ModelError            a provider could not answer
│   ├── AuthError         401/403
│   ├── RateLimited       429; carries ``retry_after`` seconds
│   ├── ModelTimeout      no answer within the deadline
│   ├── ContextOverflow   the prompt does not fit the context window
│   └── ServerError       5xx or a broken connection
├── BudgetExceeded        the hard budget (tokens, money, seconds) is spent
├── FitError              a rung could not be fitted
├── StoreError            the store is locked, full, newer than this program, or damaged
├── FetchError            weights could not be fetched or failed their checksum
└── ParityError           an exported or served program does not score as the evaluated one did
"""

from __future__ import annotations

from pathlib import Path


class RungError(Exception):
    """Base of every error that rung raises on purpose.

    ``message`` says what was got and what was expected, ``remedy`` what to do or type. ``code`` names the kind of fault
    in lower-case words joined by hyphens ("context-overflow"): code branches and tests match on it, never on the
    message.
    """

    exit_code = 1
    retryable = False
    code = "error"

    def __init__(self, message: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code or type(self).code

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class InputError(RungError):
    """Bad input; ``file`` and 1-based ``line`` point at it where they are known; ``said`` is the message without
    them."""

    exit_code = 2
    code = "input"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        file: str | Path | None = None,
        line: int | None = None,
        code: str = "",
    ) -> None:
        where = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(where + message, remedy=remedy, code=code)
        self.said = message
        self.file = None if file is None else Path(file)
        self.line = line


class MissingExtra(RungError):
    exit_code = 2
    code = "missing-extra"


class Unsupported(RungError):
    exit_code = 2
    code = "unsupported"


class ModelError(RungError):
    """A provider could not answer; ``status`` is the HTTP status where there was one."""

    code = "model"

    def __init__(self, message: str, *, remedy: str = "", status: int | None = None, code: str = "") -> None:
        super().__init__(message, remedy=remedy, code=code)
        self.status = status


class AuthError(ModelError):
    code = "refused"


class RateLimited(ModelError):
    retryable = True
    code = "rate-limited"

    def __init__(
        self, message: str, *, remedy: str = "", status: int | None = 429, retry_after: float | None = None
    ) -> None:
        super().__init__(message, remedy=remedy, status=status)
        self.retry_after = retry_after


class ModelTimeout(ModelError):
    retryable = True
    code = "timeout"


class ContextOverflow(ModelError):
    code = "context-overflow"


class ServerError(ModelError):
    retryable = True
    code = "server"

    def __init__(
        self, message: str, *, remedy: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, remedy=remedy, status=status)
        self.retry_after = retry_after


class BudgetExceeded(RungError):
    code = "budget"


class FitError(RungError):
    code = "fit"


class StoreError(RungError):
    code = "store"


class FetchError(RungError):
    code = "fetch"


class ParityError(RungError):
    code = "parity"
