"""The author kit of service and function specific managers (SSM, FSM), with its test kit; light on purpose."""
