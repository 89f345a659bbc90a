class HoldfastError(Exception):
    """`code` is one of Holdfast's, which docs/errors.md lists; the message says what to do."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
