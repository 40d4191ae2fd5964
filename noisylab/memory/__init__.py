"""Memory of each training sample: the tables, and what every method writes to them."""

from noisylab.memory.guesses import add_guesses, declare_guesses
from noisylab.memory.observations import add_observations, declare_observations
from noisylab.memory.samples import SampleMemory

__all__ = ["SampleMemory", "add_guesses", "add_observations", "declare_guesses", "declare_observations"]
