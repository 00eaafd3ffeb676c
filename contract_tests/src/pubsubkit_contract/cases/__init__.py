"""The cases of the contract, a class for each group of rules."""

from __future__ import annotations

from pubsubkit_contract.cases.acknowledgement import AcknowledgementCases
from pubsubkit_contract.cases.cancellation import CancellationCases
from pubsubkit_contract.cases.cancelled_lifecycle import CancelledLifecycleCases
from pubsubkit_contract.cases.cancelled_publishing import CancelledPublishingCases
from pubsubkit_contract.cases.closing import ClosingCases
from pubsubkit_contract.cases.cloudevents import CloudEventCases
from pubsubkit_contract.cases.concurrency import ConcurrencyCases
from pubsubkit_contract.cases.configuration import ConfigurationCases
from pubsubkit_contract.cases.crashing import CrashCases
from pubsubkit_contract.cases.deadletter import DeadLetterCases
from pubsubkit_contract.cases.delivery import DeliveryCases
from pubsubkit_contract.cases.draining import DrainingCases
from pubsubkit_contract.cases.durability import DurabilityCases
from pubsubkit_contract.cases.errors import ErrorCases
from pubsubkit_contract.cases.fanout import FanoutCases
from pubsubkit_contract.cases.faults import FaultCases
from pubsubkit_contract.cases.flow import FlowCases
from pubsubkit_contract.cases.handover import HandoverCases
from pubsubkit_contract.cases.headers import HeaderCases
from pubsubkit_contract.cases.hooks import HookCases
from pubsubkit_contract.cases.interruptions import InterruptionCases
from pubsubkit_contract.cases.limits import LimitCases
from pubsubkit_contract.cases.maxdeliver import MaxDeliverCases
from pubsubkit_contract.cases.metadata import MetadataCases
from pubsubkit_contract.cases.model import ModelCases
from pubsubkit_contract.cases.nak import NakCases
from pubsubkit_contract.cases.ordering import OrderingCases
from pubsubkit_contract.cases.outages import OutageCases
from pubsubkit_contract.cases.payload import PayloadCases
from pubsubkit_contract.cases.persistence import PersistenceCases
from pubsubkit_contract.cases.positions import PositionCases
from pubsubkit_contract.cases.provisioning import ProvisioningCases
from pubsubkit_contract.cases.redelivery import RedeliveryCases
from pubsubkit_contract.cases.sharing import SharingCases
from pubsubkit_contract.cases.shutdown import ShutdownCases
from pubsubkit_contract.cases.starting import StartingCases
from pubsubkit_contract.cases.subjects import SubjectCases
from pubsubkit_contract.cases.tracing import TracingCases
from pubsubkit_contract.cases.urls import UrlCases

__all__ = ["AllCases"]


class AllCases(
    DeliveryCases,
    SubjectCases,
    OrderingCases,
    AcknowledgementCases,
    NakCases,
    DurabilityCases,
    ClosingCases,
    StartingCases,
    SharingCases,
    FanoutCases,
    PayloadCases,
    HeaderCases,
    MetadataCases,
    FaultCases,
    InterruptionCases,
    OutageCases,
    RedeliveryCases,
    MaxDeliverCases,
    FlowCases,
    ConcurrencyCases,
    CancellationCases,
    CancelledLifecycleCases,
    ShutdownCases,
    DrainingCases,
    HandoverCases,
    PersistenceCases,
    PositionCases,
    CrashCases,
    ProvisioningCases,
    ConfigurationCases,
    LimitCases,
    HookCases,
    TracingCases,
    ErrorCases,
    UrlCases,
    ModelCases,
    CloudEventCases,
    CancelledPublishingCases,
    DeadLetterCases,
):
    """Every case."""
