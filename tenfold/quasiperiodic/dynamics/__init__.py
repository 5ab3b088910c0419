"""Wave packets and what is read off them: moments, time averages, transport exponents and bounds, derivatives."""
