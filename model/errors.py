"""The errors of this package.

ModelError
├── InvalidConfig      config.json describes no network that can be built
├── InvalidCheckpoint  the weights do not fit the config
├── InvalidData        a training or evaluation file cannot be read
├── InvalidOptions    a setting of a training or an engine cannot be used
├── TrainingFailed     a training stopped half way
└── OutOfMemory        a single text does not fit into the device's memory
"""


class ModelError(Exception):
    """Something is wrong with a model, its input or its settings."""


class InvalidConfig(ModelError):
    """A model's config.json is missing, broken, or describes no network."""


class InvalidCheckpoint(ModelError):
    """Weights are missing, of the wrong shape, or do not belong to the config."""


class InvalidData(ModelError):
    """A file of texts and labels cannot be read."""


class InvalidOptions(ModelError, ValueError):
    """A setting is out of range, or contradicts another one, the model or the machine."""


class TrainingFailed(ModelError):
    """A training stopped half way: its loss is not a number, or there is nothing to resume."""


class OutOfMemory(ModelError):
    """A batch of one text does not fit into the memory of the device."""
