"""What bytes mean: request and response codecs, framing, usage, error bodies. No I/O.

base          what a dialect must offer
registry      the dialects there are
openai        OpenAI's chats, completions, embeddings, and all that passes through
anthropic     Anthropic's messages
gemini        Gemini's contents
ollama        Ollama's chats and generations
converse      Amazon Bedrock's Converse; upstreams only
conversation  the neutral model between two dialects
translation   from one dialect to another, and what is lost on the way
mending       repairs of tools and histories, the same for every target
ends          ends of answers that stand for a failure
lenient       answers that are nearly what an API says, read for what they mean
arguments     tool calls in an answer: arguments, names and ids in any form
reference     docs/translation.md, made from their tables
reported_cost  the cost that some providers report with an answer
json_object   a JSON object as sent: its governed keys, and changing one in place
content_coding  gzip, deflate, br and zstd bodies, decoded within bounds
multipart     form data as it arrives
sse           server-sent events: where one ends, what it says
ndjson        JSON, one value a line
event_stream  Amazon's binary events
joining       the pieces of a streamed answer put together
unread        the rule for parts of an answer that cannot be read
reasoning     effort and budget
signatures    seals on thinking, carried through a foreign dialect
refusals      what a client is told whose request cannot be read
error_details reads an upstream's error body in every vendor's form
refusal_rules signs by which a refusal of the request is told from one of the gateway
estimate      how many tokens a prompt has, roughly
"""
