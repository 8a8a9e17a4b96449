"""The paper's claims as statements that a study supports, contradicts or leaves open."""
