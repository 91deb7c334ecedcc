"""What can be wrong with templates and their parameters, under the names that Heat gives it."""

from __future__ import annotations

from sonata.errors import InvalidInput


class StackValidationFailed(InvalidInput):
    """A template, a parameter or a property is not valid."""


class ResourceTypeUnavailable(StackValidationFailed):
    """A type of resource exists, but not here."""


class UserParameterMissing(InvalidInput):
    """A parameter has neither value nor default."""


class UnknownUserParameter(InvalidInput):
    """A value is given for a parameter that the template does not have."""


class InvalidTemplateVersion(InvalidInput):
    """The template's version is none that is known."""


class InvalidTemplateReference(InvalidInput):
    """A reference leads to no resource, attribute or file."""


class CircularDependency(InvalidInput):
    """Resources wait for one another in a circle."""
