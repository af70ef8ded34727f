"""One request's way: stages in order, and what they work on.

In the order in which ``gandalf.app`` lists them:
record_usage    one record for each request, whatever became of it
trace           a span for each, if tracing is on
authenticate    who is calling
decode_body     the body without its content coding, if it has one
read_call       what they ask for
authorize       whether they may
rate_limit      whether they may now
cache_lookup    whether it was answered before
select_targets  where it may go, in which order
locate          where it must go, if it is about an object that an upstream keeps
reserve         whether budgets have room for it; bounds: the most that it may use
dispatch        retries and failover, until one target answers

What they work on, and with:
endpoint        what a URL asks for
cost            what an exchange cost
exchange        the request, and what is known of it so far
stage           the shape of a stage, and the loop that runs them
attempt         one send to one target
failure_policy  what its failure means for the client, the next target, the breaker
retry_after     how long an upstream asks to wait
meter           the estimate of what a stream has delivered
stream_body     a streamed answer on its way to the client
passthrough     a request to one of OpenAI's other endpoints; uploads: form data
drains          who may run on after their client has left
"""
