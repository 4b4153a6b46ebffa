"""What travels: encodings, event streams, signatures, HTTP/1.1, HTTP/2 and TLS. The API itself knows nothing of it."""
