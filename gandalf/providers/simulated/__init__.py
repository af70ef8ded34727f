"""An upstream inside the process, in OpenAI's formats: nothing leaves the machine.

upstream  the provider and its connections in one: timing, errors, cuts
requests  what is read of a request, and what OpenAI says of a malformed one
answers   what the simulated model says
schema    small instances of JSON schemas, for tool calls and structured outputs
"""

from gandalf.providers.simulated.upstream import Simulated as Simulated
