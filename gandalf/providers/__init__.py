"""Where requests go and how they are sent: URL, credentials, time limits.

base       what a provider and its connections must offer
openai     any OpenAI-compatible base URL
simulated  an upstream inside the process, for demos, tests and load
registry   config to provider: the one place that lists the types
"""
