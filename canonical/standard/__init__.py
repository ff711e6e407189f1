"""The standard canonical model: one YAML file an entity, extended by a landscape (`extends: standard/customer`)."""
