"""Owners of mutable state: ask by plain methods, hand over work by ``post``.

supervisor     starts actors in order, stops them in the reverse order
usage_journal  every finished request, from a file into the database
usage_keeper   deletion of usage by age, in small steps
key_table      client keys in memory, fresh within a second
token_issuers  JWTs beside keys: the issuers' public keys, verified tokens
token_verification  a JWT's signature, times and audience; without state
token_claims   from a JWT's claims to an identity; without state
limiter        requests and tokens a minute, by key
ledger         budgets: what they have left, reserved before and settled afterwards
accounts       one subject's sums under one rule, for the ledger
ledger_upkeep  raises made elsewhere, expiry, and the hourly audit
notifier       tells of thresholds that budgets have reached
routes         aliases and the targets behind them
credentials    clouds' tokens and keys, fetched ahead of time
object_table   whose the files, batches and responses at the upstreams are
breakers       circuit breakers: which targets are avoided for a while
connector      upstream connections opened in the background
rate_limit_waits      what a target's 429s ask for, by client key
credentials_ejection  providers that refuse the gateway's credentials
retry_budget   how many second tries the traffic of the last seconds allows
window         counts of the last seconds, for the two above
response_cache answers that may be given again
watches        the time limits of all attempts
first_key      the key that a fresh gateway shows once
"""
