"""What the page shows, in order: findings gathered into panels, tables and sentences."""
