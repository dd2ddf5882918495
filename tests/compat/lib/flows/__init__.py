"""The flows: what is played at which application."""

from flows import analytics, cases, events, examples, passing, special
from flows.flow import Flow

SERVICES = [*analytics.SERVICES, *examples.SERVICES]


def of(app):
    """The flows of an application, in the order in which they are played."""
    every: list[Flow] = [*passing.FLOWS, *events.FLOWS, *cases.FLOWS, *special.FLOWS, *examples.FLOWS]
    return [flow for flow in every if flow.apps is None or app.name in flow.apps]
