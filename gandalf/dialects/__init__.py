"""What bytes mean: request and response codecs, framing, usage, error bodies. No I/O.

sse          server-sent events: where one ends, what it says
json_object  a JSON object as sent: its governed keys, and changing one in place
openai_chat  OpenAI chat completions and embeddings
"""
