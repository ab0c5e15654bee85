"""The coordinate check: does what a model computes depend on its width? python -m muattn.coord_check shows it of small models under every rule;
muattn.torch.coord_check() is the same for a model of one's own. verdicts.py has the rule by which both judge."""
