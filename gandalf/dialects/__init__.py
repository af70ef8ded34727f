"""What bytes mean: request and response codecs, framing, usage, error bodies. No I/O.

base          what a dialect must offer
registry      the dialects there are
openai        OpenAI chat completions, embeddings, and all that passes through
conversation  the neutral model between two dialects
translation   from one dialect to another, and what is lost on the way
json_object   a JSON object as sent: its governed keys, and changing one in place
sse           server-sent events: where one ends, what it says
reasoning     effort and budget
signatures    seals on thinking, carried through a foreign dialect
estimate      how many tokens a prompt has, roughly
"""
