"""From a request to a promoted model: one durable step after the other, whatever is killed."""
