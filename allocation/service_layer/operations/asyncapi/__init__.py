"""The AsyncAPI 3.0 document: made of the schemas, the handlers and the topics, so that it cannot go out of date."""
