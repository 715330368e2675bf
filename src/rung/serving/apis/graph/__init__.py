"""GraphQL over what a store holds and what a server offers."""
