// The repository and the supplemental pack, as hosts take them.

export {}
