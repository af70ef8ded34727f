"""Where requests go and how they are sent: URL, credentials, time limits.

base         what a provider and its connections must offer
openai       any OpenAI-compatible base URL
presets      the same at well-known vendors
anthropic    Anthropic's own API
gemini       the Gemini API
ollama       Ollama's servers
azure        OpenAI's models at Azure
vertex       Google's, Anthropic's and other models at Vertex AI
bedrock      Anthropic's and all other models at Amazon Bedrock; sigv4 signs
simulated    an upstream inside the process, for demos, tests and load
body         changes to a request's body that leave the rest as it is
watch        the clock of one attempt
fields       header fields as they are on the wire
forwarding   which of a client's header fields go on
credentials  what is kept fresh, and by whom; credentials_* fetch it, in threads that
             blocking runs
catalogue    what is known of the models
registry     config to provider: the one place that lists the types
"""
