"""What the gateway shows of itself: metrics, logs, traces.

series         counters, gauges and histograms in plain dictionaries
metrics        every metric there is, and what moves it
loop_lag       an actor that measures how late the event loop is
logs           sets up the log: levels, format, one writer for everything
log_lines      a log event as one line, in JSON or for people; no secret in it
redaction      takes what looks like a secret out of a text
log_writer     a thread that writes lines, so that a full pipe stops nobody
access_log     one line for each request
semconv        names of OpenTelemetry's conventions for generative AI
spans          what the pipeline says to a trace; imports no OpenTelemetry
tracing        OpenTelemetry spans; imported only when tracing is on
observed       what all of these read of an exchange
"""
