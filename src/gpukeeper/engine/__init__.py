"""The controller: it looks at Novita, decides with the domain, acts, and announces."""
