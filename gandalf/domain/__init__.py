"""Value types and errors that the whole package shares; imports no other part.

errors      every way a request can be refused or fail, and the status it means
identity    who calls, what their role permits, which models and limits they have
keys        what an API key looks like, and what is kept of it
routing     aliases, routes and the targets behind them
prices      unit prices, and the rating that a record keeps
histogram   distributions of durations that can be added up
buckets     hours, days, weeks and months in a time zone
usage       tokens by class, attempts, and the record kept of every request
budgets     what a budget limits, and by which sums; windows: by which calendar
charges     what a usage record adds to which sums
compat      where OpenAI-compatible vendors differ
model       what is known of a model
objects     what upstreams keep for clients: files, batches, responses
ids         unique names of requests, which tell their time
tenants     organisations, teams and users, and what a key inherits from them
audit       entries of the audit trail
managed     objects made through the API, and where objects are declared
state       everything that is managed, and a change of it
secret      text that never shows itself
"""
