"""Bronze as a source of a stream, by position."""
