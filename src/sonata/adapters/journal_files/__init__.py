"""A journal in files."""

from sonata.adapters.journal_files.journal import FileJournal

__all__ = ["FileJournal"]
