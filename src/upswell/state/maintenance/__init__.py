"""Operations on a state outside of its run: verify, back up, export, import, forget."""
