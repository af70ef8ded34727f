"""The configuration file, read into immutable structs that hold only valid values.

settings   every setting with its default, unit and meaning, once
document   YAML as nodes that know their line; ``${NAME}`` put in after parsing
convert    nodes to structs, collecting every mistake
scalars    from a setting's text to its value
check      what one field alone cannot tell: names, references, addresses
problems   what is wrong, and where
load       the way from a path to a ``Config``
reference  docs/configuration.md, made from ``settings``
"""

from gandalf.config.check import provider_type, split_address
from gandalf.config.load import load, load_database
from gandalf.config.problems import ConfigError, Problem
from gandalf.config.settings import (
    Auth,
    Cache,
    CircuitBreaker,
    Config,
    Database,
    Disconnect,
    Key,
    Logging,
    Metrics,
    Provider,
    ProviderAuth,
    RateLimits,
    Retries,
    Route,
    RouteTarget,
    Server,
    Simulation,
    Telemetry,
    Timeouts,
    Tls,
    Tracing,
    Usage,
)

__all__ = [
    "Auth",
    "Cache",
    "CircuitBreaker",
    "Config",
    "ConfigError",
    "Database",
    "Disconnect",
    "Key",
    "Logging",
    "Metrics",
    "Problem",
    "Provider",
    "ProviderAuth",
    "RateLimits",
    "Retries",
    "Route",
    "RouteTarget",
    "Server",
    "Simulation",
    "Telemetry",
    "Timeouts",
    "Tls",
    "Tracing",
    "Usage",
    "load",
    "load_database",
    "provider_type",
    "split_address",
]
