"""Privacy as inert events, priced by an accountant, admitted by an account."""
