"""Why Neutron refuses what concerns security groups and port security, under its own names."""

from __future__ import annotations

from sonata.errors import Conflict, InvalidInput, NotFound


class SecurityGroupInUse(Conflict):
    """Ports are in a group."""


class SecurityGroupDefaultAlreadyExists(Conflict):
    """A project has one group `default`."""


class SecurityGroupCannotRemoveDefault(Conflict):
    """The group `default` stays."""


class SecurityGroupCannotUpdateDefault(Conflict):
    """The group `default` keeps its name."""


class SecurityGroupRuleExists(Conflict):
    """A group has such a rule."""


class InconsistentCorrelations(InvalidInput):
    """Functions of one group take packets that are marked alike."""


class PortChainInconsistentCorrelations(InvalidInput):
    """Functions of a chain take its own marks, or none."""


class SecurityGroupConflict(Conflict):
    """Stateful and stateless groups do not mix on one port."""


class SecurityGroupNotSingleGroupRules(InvalidInput):
    """Rules made in one request belong to one group."""


class SecurityGroupRemoteGroupAndRemoteIpPrefix(InvalidInput):
    """A rule names the other side in more than one way."""


class SecurityGroupProtocolRequiredWithPorts(InvalidInput):
    """Ports mean nothing without a protocol."""


class SecurityGroupInvalidProtocolForPort(InvalidInput):
    """The protocol has no ports."""


class SecurityGroupInvalidPortRange(InvalidInput):
    """A range of ports is empty, or half of it is missing."""


class SecurityGroupInvalidIcmpValue(InvalidInput):
    """An ICMP type or code is out of range."""


class SecurityGroupMissingIcmpType(InvalidInput):
    """There is an ICMP code without a type."""


class SecurityGroupRuleInvalidProtocol(InvalidInput):
    """No such protocol."""


class SecurityGroupRuleParameterConflict(InvalidInput):
    """A prefix is of another version of IP than its rule."""


class SecurityGroupEthertypeConflictWithProtocol(InvalidInput):
    """A protocol belongs to another version of IP than its rule."""


class QosPolicyInUse(Conflict):
    """Ports or networks have a policy."""


class QoSPolicyDefaultAlreadyExists(Conflict):
    """A project has one default policy."""


class QoSRulesConflict(Conflict):
    """A policy has such a rule for this direction."""


class QosRuleNotSupported(Conflict):
    """Nothing here can enforce such a rule."""


class ServiceGraphInvalidPortChains(Conflict):
    """A chain is in another service graph."""


class ServiceGraphPortChainInUse(Conflict):
    """A chain is in a service graph."""


class ServiceGraphLoopDetected(InvalidInput):
    """Chains of a service graph lead back to themselves."""


class ServiceGraphFlowClassifierInConflict(InvalidInput):
    """A packet could go into two chains where one branches."""


class ServiceGraphPortChainInConflict(InvalidInput):
    """A chain leads to another one twice."""


class PortPairEgressNoHost(InvalidInput):
    """A function's egress port belongs to no server."""


class PortSecurityPortHasSecurityGroup(Conflict):
    """Port security is to be switched off while groups are there."""


class PortSecurityAndIPRequiredForSecurityGroups(InvalidInput):
    """Groups are wanted on a port that is not secured."""


class AddressPairAndPortSecurityRequired(Conflict):
    """Address pairs are wanted on a port that is not secured."""


class L2GatewayInUse(Conflict):
    """A layer 2 gateway is joined to networks."""


class L2GatewayConnectionExists(Conflict):
    """A layer 2 gateway is joined to a network already."""


class L2GatewaySegmentationIDExists(Conflict):
    """An interface of a layer 2 gateway is joined to another network."""


class L2GatewayDeviceNotFound(NotFound):
    """A layer 2 gateway names a device that is not there."""


class L2GatewayInterfaceNotFound(NotFound):
    """A layer 2 gateway names an interface that its device has not got."""
