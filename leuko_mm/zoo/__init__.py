"""The models of the zoo, and the one that is shipped with the package."""
