"""Do learning rates transfer from a narrow model to wide ones? python -m muattn.transfer trains small models of some widths at a grid of learning
rates, under the standard parametrization and under muP, and shows their losses: a picture, a table, a results file.

  arguments.py  the command line                  table.py    what the losses say: numbers alone
  plan.py       which runs there are              picture.py  the plot
  runs.py       one run, and the file of those    report.py   all that is written at the end
"""
