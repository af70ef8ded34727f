"""The configuration file, read into immutable structs that hold only valid values.

settings   every setting with its default, unit and meaning, once
document   YAML as nodes that know their line; ``${NAME}`` put in after parsing
convert    nodes to structs, collecting every mistake
scalars    from a setting's text to its value
check      what one field alone cannot tell: names, references, addresses
check_hosting  the same of a provider's cloud
check_prices  the same of prices
check_issuers  the same of token issuers
budgets    the budgets of a configuration, as the ledger takes them
hostings   which dialect can be had at which cloud, and how to prove oneself there
presets    well-known vendors: addresses, and what each takes and gives
vendors    docs/vendors.md, made from ``presets``
problems   what is wrong, and where
load       the way from a path to a ``Config``
starter    a configuration made from the provider keys in the environment
plain      YAML as plain values, for the command line
sealing    secrets of managed objects, encrypted for the database
merge      managed objects put into the file's configuration; origins of values
schema     the format of the file as JSON Schema, for editors
reference  docs/configuration.md, made from ``settings``
"""

from gandalf.config.budgets import budgets_of
from gandalf.config.check import split_address
from gandalf.config.hostings import auth_type, hosting_of, provider_type
from gandalf.config.load import database_path, load, load_database, load_server
from gandalf.config.problems import ConfigError, Problem
from gandalf.config.settings import (
    Auth,
    Budget,
    Cache,
    CircuitBreaker,
    ClaimPaths,
    Compat,
    Config,
    Database,
    Disconnect,
    Issuer,
    Key,
    Logging,
    Metrics,
    ModelInfo,
    ModelPrice,
    Notifications,
    Prices,
    Provider,
    ProviderAuth,
    RateLimits,
    Retries,
    RoleRule,
    Route,
    RouteTarget,
    Server,
    Simulation,
    Telemetry,
    Timeouts,
    Tls,
    Tracing,
    Usage,
    Webhook,
)

__all__ = [
    "Auth",
    "Budget",
    "Cache",
    "CircuitBreaker",
    "ClaimPaths",
    "Compat",
    "Config",
    "ConfigError",
    "Database",
    "Disconnect",
    "Issuer",
    "Key",
    "Logging",
    "Metrics",
    "ModelInfo",
    "ModelPrice",
    "Notifications",
    "Prices",
    "Problem",
    "Provider",
    "ProviderAuth",
    "RateLimits",
    "Retries",
    "RoleRule",
    "Route",
    "RouteTarget",
    "Server",
    "Simulation",
    "Telemetry",
    "Timeouts",
    "Tls",
    "Tracing",
    "Usage",
    "Webhook",
    "auth_type",
    "budgets_of",
    "database_path",
    "hosting_of",
    "load",
    "load_database",
    "load_server",
    "provider_type",
    "split_address",
]
