"""Problems, and the graders that know their references."""
