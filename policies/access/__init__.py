"""The law of the federation's doors: who may call which method, on what."""
