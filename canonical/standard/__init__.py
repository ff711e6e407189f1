"""The standard canonical model: one YAML file an entity, to be extended by a landscape (`extends: standard/customer`)."""
