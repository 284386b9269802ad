"""Networks of other frameworks -> a spec's fields and a state_dict under torch's names."""
