"""Files below the tables: data files and their statistics, staged ones, and what makes them durable."""
