"""Storage on disk. The only package, beside credentials, that uses threads.

errors      how storage fails: now, or until somebody does something about it
database    the SQLite file: one connection writes, a few read
migrations  the schema, one step after the other
journal     the segment files that requests are written to first
usage       from the journal into the table of finished requests
balances    what budgets' subjects have spent, in step with that table
balance_audit  whether they are the sums of that table
budgets     temporary raises, and the thresholds that were told of
usage_series  what requests are grouped and filtered by
rollups     sums of them by series, hour and day, in the same transaction
usage_queries  sums and lists of requests
usage_upkeep   deletion by age, and the audit of the sums
requests    finished requests, read for people; request_search finds them
rerating    costs of finished requests, computed again
keys        client keys
tenants     organisations, teams and users
managed     providers, routes and the like that were made through the API
reconcile   managed objects, tenants and keys, changed in one transaction
audit       the audit trail
objects     files, batches and responses at upstreams: whose, and where
"""
