"""The network on both sides, and the application between.

Towards clients:
edge                 the listener, accepting in bursts, ending gracefully
connection           HTTP/1.1 with one client, in one task
parser               strict requests out of bytes
response             one answer's header section and framing
client_wire          one client's socket, plain or through TLS
client_upload        a request body that is passed on while it arrives
poller               being told of sockets that can be read, or are gone
outbox               sending what a turn of the loop has to send, behind its records
field_names          names of header fields, each held once
edge_asgi            a request through an ASGI application
lifespan             telling that application of the beginning and the end

What is asked for:
endpoints            the URLs that run the pipeline
openai_endpoints     OpenAI's others among them
spoken               which dialect a URL is spoken to in
gateway              from a request to its exchange through the pipeline
responder            one exchange's answer, error or stream, as an HTTP response
channel              what a response is made through, whoever carries it
front                what the edge serves beside them, and has Quart loaded for
page                 a page with Quart and without
refused_paths        what is served nowhere, and what its client may have meant
system_pages         health and metrics
model_views          the lists of models
key_page             what a key may do, what its budgets have left, what it has used
application          every endpoint, declared once (quart-trio)
page_access          who may see which page
model_lists          the models, as each dialect lists them
issuer_documents     fetches the public keys of token issuers
webhooks             sends notices of budgets to webhooks
quart_exchange       an exchange behind Quart

Towards upstreams:
upstreams            the connections to every provider, kept over reloads
upstream             the pool of one provider
upstream_connection  HTTP/1.1 with one upstream
decoded_response     a response body without its content coding
response_parser      strict responses out of bytes
wire                 one upstream's socket
dial                 resolving, connecting, TLS
httpx_transport      where httpx and the pool meet
lone_cancelled       one cancellation as one exception
"""
