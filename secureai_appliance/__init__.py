"""SecureAI Appliance: a complete AI service for a server without internet, in one program."""

__version__ = "0.1.0"
