"""What a user can mend by asking for something else."""


class UsageError(ValueError):
    """The user asked for something that is not there; the message says what to do."""
