"""Problems with tests, solved by a model and judged in the sandbox."""
