"""Which frames are worth labelling: `extract` before there is a model, `suggest` with one."""
