"""Where the parts of each architecture are, one file a family; `find.of` knows them all."""
