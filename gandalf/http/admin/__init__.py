"""The admin API below ``/admin/v1``, described by one table.

table          what an endpoint is: path, permissions, types, handler
problems       errors as problem details (RFC 9457)
scope          which objects a caller may see and change
views          from a Quart request to a handler and back
idempotency    repeated POSTs with the same ``Idempotency-Key``
openapi        the table as an OpenAPI 3.1 document
reference      the table as an HTML page and as docs/admin-api.md
configuration  providers, routes and budgets
budgets        what budgets have left, raises, reservations
prices         prices of the targets
probe          test of a provider by a real request
keys           API keys
tenants        organisations, teams and users
apply          a document of all managed objects: export it, apply it
secrets        secrets in objects: sealed, kept, never shown
plan           from a document and the present state to a change
client         a client of this API, for the command line
values         values that several endpoints take or show
audit          the audit trail
limits         effective limits of a key; the caller's own key
breakers       circuit breakers: see, trip, reset
runtime        cache, drain, reload, configuration in force
records        past requests: search, and the whole record of one
usage          lists of requests and sums of usage; usage_rows: how they are shown
api            all endpoints, in the order of the reference
"""
