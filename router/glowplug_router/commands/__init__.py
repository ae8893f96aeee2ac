"""Which verbs need the router's code? Each module is loaded only when its verb is used."""
